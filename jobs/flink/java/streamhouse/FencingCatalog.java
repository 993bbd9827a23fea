package streamhouse;

import java.io.Closeable;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Set;

import org.apache.iceberg.BaseTable;
import org.apache.iceberg.CatalogUtil;
import org.apache.iceberg.Schema;
import org.apache.iceberg.Table;
import org.apache.iceberg.catalog.Catalog;
import org.apache.iceberg.catalog.Namespace;
import org.apache.iceberg.catalog.SupportsNamespaces;
import org.apache.iceberg.catalog.TableIdentifier;
import org.apache.iceberg.hadoop.Configurable;

/**
 * Another catalog of Iceberg's, whose class the property `fenced-catalog-impl` names; its tables refuse what a zombie of Flink's sink
 * commits: see {@link FencingTableOperations}.
 *
 * <p>A table is fenced once it is loaded, as the sink does. What `buildTable` and `registerTable` answer is the other catalog's own.
 */
public final class FencingCatalog implements Catalog, SupportsNamespaces, Configurable<Object>, Closeable {
    private static final String FENCED = "fenced-catalog-impl";

    private Object configuration;
    private Catalog catalog;
    private SupportsNamespaces namespaces;

    @Override
    public void setConf(Object configuration) {
        this.configuration = configuration;
    }

    @Override
    public void initialize(String name, Map<String, String> properties) {
        catalog = CatalogUtil.loadCatalog(properties.get(FENCED), name, properties, configuration);
        namespaces = (SupportsNamespaces) catalog;
    }

    @Override
    public Table loadTable(TableIdentifier table) {
        Table loaded = catalog.loadTable(table);
        return loaded instanceof BaseTable base // and no table of metadata, which nobody writes
                ? new BaseTable(new FencingTableOperations(base.operations(), base.name()), base.name(), base.reporter())
                : loaded;
    }

    @Override
    public void close() throws IOException {
        if (catalog instanceof Closeable closeable) {
            closeable.close();
        }
    }

    @Override
    public String name() {
        return catalog.name();
    }

    @Override
    public List<TableIdentifier> listTables(Namespace namespace) {
        return catalog.listTables(namespace);
    }

    @Override
    public boolean tableExists(TableIdentifier table) {
        return catalog.tableExists(table);
    }

    @Override
    public TableBuilder buildTable(TableIdentifier table, Schema schema) {
        return catalog.buildTable(table, schema);
    }

    @Override
    public Table registerTable(TableIdentifier table, String metadataFileLocation) {
        return catalog.registerTable(table, metadataFileLocation);
    }

    @Override
    public Table registerTable(TableIdentifier table, String metadataFileLocation, boolean overwrite) {
        return catalog.registerTable(table, metadataFileLocation, overwrite);
    }

    @Override
    public void invalidateTable(TableIdentifier table) {
        catalog.invalidateTable(table);
    }

    @Override
    public boolean dropTable(TableIdentifier table, boolean purge) {
        return catalog.dropTable(table, purge);
    }

    @Override
    public void renameTable(TableIdentifier from, TableIdentifier to) {
        catalog.renameTable(from, to);
    }

    @Override
    public void createNamespace(Namespace namespace, Map<String, String> metadata) {
        namespaces.createNamespace(namespace, metadata);
    }

    @Override
    public List<Namespace> listNamespaces(Namespace namespace) {
        return namespaces.listNamespaces(namespace);
    }

    @Override
    public boolean namespaceExists(Namespace namespace) {
        return namespaces.namespaceExists(namespace);
    }

    @Override
    public Map<String, String> loadNamespaceMetadata(Namespace namespace) {
        return namespaces.loadNamespaceMetadata(namespace);
    }

    @Override
    public boolean dropNamespace(Namespace namespace) {
        return namespaces.dropNamespace(namespace);
    }

    @Override
    public boolean setProperties(Namespace namespace, Map<String, String> properties) {
        return namespaces.setProperties(namespace, properties);
    }

    @Override
    public boolean removeProperties(Namespace namespace, Set<String> properties) {
        return namespaces.removeProperties(namespace, properties);
    }
}
